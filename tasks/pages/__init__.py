"""Pages of text and tables that a command prints and the Prefect UI shows."""
