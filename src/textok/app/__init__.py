"""The page to play with (``textok app``): pictures to tokens and back, words to pictures, quality over tokens."""
