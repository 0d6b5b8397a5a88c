"""The verb `export`: a run -> a folder that other engines load, and the proof that both agree."""
