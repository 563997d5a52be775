"""Effects of a treatment with any number of arms, from a table: P(A | do(Q)), and how far P(A | Q) is from it.

A table of a million rows has few distinct rows; every estimator works on these and how often each occurs, and so does
its interval: the estimate is a function of counts, its influence function a number per distinct row.
"""
