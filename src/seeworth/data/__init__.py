"""Files -> Records: everything that comes before a dataset folder can be trained on.

    run        `seeworth import`, the order of the steps       photo     the only decoder of photos
    sources    tables and image folders as rows of cells       split     groups and splits
    rows       a row of cells -> a draft, or a refusal         dataset   the dataset folder, written and read
    cells      text and numbers as people write them           metadata  its table: rows, names of columns, checks
    sample     product photos drawn here (with `draw`)         progress  a bar on a terminal, plain lines elsewhere
    ablate     records with their photos taken away            stored    one photo into the folder; the worker processes
    take       every photo of an import, once                   fetch     which URL is asked for next, how often, how many at once
    ledger     what an unfinished import knows already          download  one try of one URL
    resume     begin, continue, clean up                        guard     which addresses may be connected to
    web        URLs made ready to be asked for                  address   where a photo is: a file, a URL, bytes in the row
"""
