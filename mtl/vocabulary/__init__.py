"""A vocabulary for a domain: trained on a corpus, or the encoder's own with the most useful whole words added.

- `vocabulary_file`: the keys of a vocabulary file.
- `word_choice`: which words of a corpus are added.
- `new_tokenizers`: the encoder's tokenizer with these words, or one of its kind trained on the corpus.
- `exchange`: `Exchange`, which rows of the new table of embeddings are old ones and which are new.
- `occurrences`: where the new tokens occur in the corpus.
- `initialisers`: the values of the new rows, one file per method; `alignment`: texts in both tokenisations, for one
  of the methods.
- `tables`: the tables of the model with the new rows.
- `fertility`: tokens per word on held-out text.
- `first_loss`: the loss of masked language modelling before any training, by method.
- `building`: from a vocabulary file to the folder of an encoder, and the report.
"""

DECIDES_RESULTS = False

__all__ = ["building", "first_loss", "vocabulary_file"]
