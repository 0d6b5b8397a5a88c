"""`seeworth sample`: a shop's products planned, drawn (by `draw`) and written."""
