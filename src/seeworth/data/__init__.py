"""Files -> Records: everything that comes before a dataset folder can be trained on. In the order the data flows:

    sources/    files, folders, Hub sets as rows of cells      run         `seeworth import`, the order of the steps
    rows/       a row of cells -> a draft, or a refusal        dataset     the dataset folder, written and read
    download/   photos from the web                            metadata    its table: rows, names of columns, checks
    intake/     every photo of an import, taken once           ablate      records with their photos taken away
    photo/      the only decoder of photos, and their looks    workers     work over processes
    split/      what belongs together, and where it stands     progress    a bar on a terminal, plain lines elsewhere
    check/      `seeworth check`: a dataset folder judged
    sample/     a shop's products, planned and written; draw/ draws them
    twin/       a synthetic twin of a dataset folder
"""
