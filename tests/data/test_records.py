import pytest

from textok.data.records import RecordError, parse_record, read_captions, read_label


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"caption": " a cat "}, ("a cat",)),
        ({"captions": ["a", " ", "b"], "caption": "c"}, ("a", "b")),
        ({"captions": None, "text": "t"}, ("t",)),
        ({"caption": ""}, ()),
        ({"name": "x"}, ()),
    ],
)
def test_captions(record, expected):
    assert read_captions(record, None) == expected


def test_asked_caption_field():
    assert read_captions({"caption": "a", "long": "b"}, "long") == ("b",)
    with pytest.raises(RecordError, match=r"long.*caption"):
        read_captions({"caption": "a"}, "long")


@pytest.mark.parametrize("value", [3, ["a", 3], {"en": "a"}])
def test_captions_of_a_wrong_type(value):
    with pytest.raises(RecordError, match="list of strings"):
        read_captions({"caption": value}, None)


def test_labels():
    assert read_label({"label": 3}, None) == 3
    assert read_label({"cls": 4}, None) == 4
    assert read_label({"label": "cat"}, None) is None
    with pytest.raises(RecordError, match="expected an integer"):
        read_label({"kind": True}, "kind")


@pytest.mark.parametrize("text", [b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_malformed_json(text):
    with pytest.raises(RecordError, match="metadata is"):
        parse_record(text)
