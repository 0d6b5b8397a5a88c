"""Files -> Records: everything that comes before a dataset folder can be trained on.

    run        `seeworth import`, the order of the steps       photo     the only decoder of photos
    sources    tables and image folders as rows of cells       split     groups and splits
    rows       a row of cells -> a draft, or a refusal         dataset   the dataset folder, written and read
    cells      text and numbers as people write them           metadata  its table: rows, names of columns, checks
    sample     product photos drawn here (with `draw`)         progress  a bar on a terminal, plain lines elsewhere
    packed     a plan of any length in little memory                 table     products.csv, as long as it may be
    workers    work over processes, in order                         twin      a synthetic twin of a dataset folder
    ablate     records with their photos taken away
"""
