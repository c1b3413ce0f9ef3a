"""The sentences of the demo corpus, one record per domain; `DOMAINS` in `all_domains.py` lists them in order."""
