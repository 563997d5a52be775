"""What is learned from: items, ECGs, wordings and signals in one folder."""
