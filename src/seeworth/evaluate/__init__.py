"""Predictions and Records -> an Evaluation: figures with n and 95 % intervals, beside baselines, with proof that the photo mattered.

    score       one answer held against the truth       estimate    a figure with its interval
    figures     every figure that a task allows         grounding   own, blank and swapped photos
    verdict     what the figures say, in sentences      core        all of it as plain data
    conformal   intervals around numbers                calibration confidence, and when not to answer
    compare     two models, paired                      steps       both of these for the verb
    folder      the evaluation folder                   run         the verb

Runs without torch: `run` loads a model only when it is given a run folder.
"""
