"""Files -> Records: everything that comes before a dataset folder can be trained on.

    run        `seeworth import`, the order of the steps       look      a photo's hash and looks, and when two are alike
    sources    tables and image folders as rows of cells       near      near-identical photos among a million
    rows       a row of cells -> a draft, or a refusal         groups    what belongs together
    cells      text and numbers as people write them           split     the deal of groups to splits
    address    where a photo is, judged before it is opened    divide    both, for an import, and what is told of them
    photo      the only decoder of photos                      check     `seeworth check`: a dataset folder judged from itself
    dataset    the dataset folder, written and read            check_*   what it counts, opens and shows
    metadata   its table: rows, names of columns, checks       progress  a bar on a terminal, plain lines elsewhere
    sample     product photos drawn here (with `draw`)         ablate    records with their photos taken away
"""
