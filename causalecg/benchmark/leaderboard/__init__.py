"""Arms by regimes: cells that resume, and the tables and the page made of them."""
