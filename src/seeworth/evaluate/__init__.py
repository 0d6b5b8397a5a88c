"""Predictions and Records -> an Evaluation: figures with n and 95 % intervals, beside baselines, with proof that the photo mattered.

    score       one answer held against the truth       estimate    a figure with its interval
    measures    text, number and category measures      figures     every figure that a task allows
    skill       the model beside a baseline, paired     slices      figures of parts of the records
    grounding   own photos and spoilt ones              faults      what makes figures worthless
    verdict     what the figures say, in sentences      core        all of it as plain data
    conformal   intervals around numbers                calibration confidence, and when not to answer
    compare     two models, paired                      steps       both of these for the verb
    units       numbers off by one factor                occlusion   maps of what answers hang on
    asked       who is asked what                       folder      the evaluation folder
    run         the verb                                show        the terminal

Runs without torch: `run` loads a model only when it is given a run folder.
"""
