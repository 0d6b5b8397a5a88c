"""The synthetic twin of a dataset folder: its structure, and nothing that anybody could call theirs.

    make      `seeworth sample --like`, the order of the steps     learn     a dataset folder -> Structure, a model of every column
    rows      Structure -> rows, chunk by chunk                    kinds     what a column is            links    which hang together
    photos    a drawn kind for each category, price made visible   texts, numbers, codes, words          models of cells, and new cells
    copies    whether a row repeats something real                 measure   fidelity and privacy        page     their page
"""
