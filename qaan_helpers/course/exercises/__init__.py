"""Checks of the notebooks' exercises, one module per notebook.

A notebook has a stub, `my_answer = ...`, and calls `check_…(my_answer)` of its own module. The check prints whether the
answer is right, or what to look at again. Worked solutions, which the tests run, are in notebooks/solutions/.
"""
