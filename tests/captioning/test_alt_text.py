import pytest

from textok.captioning.writers.offline import clean_alt_text


@pytest.mark.parametrize(
    ("text", "cleaned", "change"),
    [
        ("A red apple", "A red apple", None),
        ("A map of Paris in 1889", "A map of Paris in 1889", None),
        ("Salt &amp; pepper shakers", "Salt & pepper shakers", "entities"),
        ("<b>red</b> apple tree", "red apple tree", "markup"),
        ("red apple https://example.org/a?b=c tree", "red apple tree", "address"),
        ("red-apple_on-table.jpg", "red apple on table", "file name"),
        ("Beach at sunset IMG_20210405_1234", "Beach at sunset", "file name"),
        ("Red apple, royalty-free stock photo", "Red apple", "boilerplate"),
        ("Red apple | Etsy", "Red apple", "boilerplate"),
        ("red shoes, buy now", "red shoes", "boilerplate"),
        ("red shoes, shoes red, running shoes, red running shoes", "red shoes, running shoes", "repeats"),
        ("red apple " + "word " * 100, "red apple " + "word " * 72 + "word", "too long"),
    ],
)
def test_alternative_text_is_cleaned_and_the_change_is_named(text, cleaned, change):
    result, changes = clean_alt_text(text)
    assert result == cleaned
    assert change in changes if change else changes == ()
