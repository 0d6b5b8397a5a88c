"""Files -> Records: everything that comes before a dataset folder can be trained on.

    run        `seeworth import`, the order of the steps       look      a photo's hash and looks, and when two are alike
    sources    files, folders, Hub sets as rows of cells       near      near-identical photos among a million
    columns    which column holds what                         groups    what belongs together
    rows       a row of cells -> a draft, or a refusal         split     the deal of groups to splits
    cells      text and numbers as people write them           divide    both, for an import, and what is told of them
    address    where a photo is (with `photocell`)             dataset   the dataset folder, written and read
    take       every photo of an import, once                  metadata  its table: rows, names of columns, checks
    fetch      which URL is asked for next, how often          check     `seeworth check`: a dataset folder judged from itself
    download   one try of one URL                              check_*   what it counts, opens and shows
    guard      which addresses may be connected to             sample    product photos drawn here (with `draw`)
    web        URLs made ready to be asked for                 packed    its plan, of any length in little memory
    photo      the only decoder of photos                      table     products.csv, as long as it may be
    headers    what a photo file says of itself (with `avif`)  twin      a synthetic twin of a dataset folder
    pixels     any decoded picture -> RGB on white             ablate    records with their photos taken away
    stored     one photo into the folder; its workers          workers   work over processes, in order
    ledger     what an unfinished import knows already         progress  a bar on a terminal, plain lines elsewhere
    resume     begin, continue, clean up
"""
