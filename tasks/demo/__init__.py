"""The embedded default: a small language model trained by this project, its corpus, and the code that makes both."""
