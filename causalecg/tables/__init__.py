"""Tables that others made: read, cell by cell, with every bad row named."""
