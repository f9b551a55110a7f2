"""Which episodes of a cell are run, and when it has enough of them."""
