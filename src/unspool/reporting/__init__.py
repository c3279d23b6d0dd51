"""The report of a run as one page: no script, no network, light and dark."""
