"""An objective that is a sum of objectives, each of some of the rows, wherever these are.

With L_p the share that the rows of part p have in the mean over all rows,

.. math:: L(\\theta) = \\sum_p L_p(\\theta) + \\frac{l_2}{2} \\|\\theta\\|^2

and so it is with gradients, Hessian products, Gram matrices and all else that solvers ask for. Rows stay where they
are; theta goes to them, and sums come back. `local` is the whole protocol in one process, and the reference for any
other; `fastsoftmax.dask` is another one. What a backend has to do:

1. Where the rows of each part are, call `part.describe` on them. `part.Whole.of` makes of these `Facts` what the parts
   have to know of each other: how many classes there are, and what all weights sum to.
2. Make a `part.Part` of the rows of each part where they are, and keep it there.
3. Provide `total.Parts`: for a question, one of the functions of `questions`, and its arguments (arrays and small
   objects, which pickle) return the sum of the answers of all parts. `answer.Forest` adds them up. Answers may come in
   any order, and be joined anywhere: the tree of sums depends on the numbers of the parts alone, so that the result is
   the same to the last bit as that of `local` with the same parts.
   `total.Parts.fold`, for sgd alone, passes a state from part to part.
4. Hand that to `total.Total`, which any solver takes in the place of an `Objective`.

A part that was lost is made again of the same rows, and answers the same. Answers are as large as theta, whatever the
number of rows, or smaller: see `answer.SomeRows`.
"""
