"""The simulated world: a small assistant domain whose prompts, corpus, annotators and true reward are all made here.

Everything it makes is called simulated wherever it shows. The pipeline sees only its prompts, its corpus and its judgments;
the true reward stays with the simulation and with the evaluation of the simulation.
"""
