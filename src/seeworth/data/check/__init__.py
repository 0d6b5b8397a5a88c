"""`seeworth check`: a dataset folder judged from itself."""
