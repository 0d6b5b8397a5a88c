"""A row of cells -> a draft of a record, or the reason why it is refused: which column, which cell, which photo."""
