"""A recurrent cell of one's own: write the equations, and Unspool makes the rest.

    unspool cells examples/my_cell.py:keeper
    unspool train my_text.txt --model examples/my_cell.py:keeper

One gate decides, for every unit and at every step, how much of the old state stays. The names of
the gates, the shapes of the parameters and the gradient through time all follow from the function.
"""

from unspool import cell, sigmoid, tanh


@cell(state="h")
def keeper(x, h, W, U, b):
    """A network with one gate. Collins, Sohl-Dickstein and Sussillo (2017), the UGRNN."""
    k = sigmoid(W.k @ x + U.k @ h + b.k)  # how much to keep
    n = tanh(W.n @ x + U.n @ h + b.n)  # what is new
    return k * h + (1 - k) * n
