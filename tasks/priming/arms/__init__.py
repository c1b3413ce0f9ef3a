"""The families of arms: the text before a passage when its cache is built, and how it is written."""
