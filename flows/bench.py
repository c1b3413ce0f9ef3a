"""`python -m flows bench`, under its other name; no flow, since a Prefect server would take its share of the cores."""

if __name__ == "__main__":
    from flows.__main__ import enter

    enter("bench")
