"""Where networks and baselines are found by name; each is registered where it is defined.

A network is a module with two class attributes and a class method:

    inputs, targets   what it is fed and trained on, as `fixlib.training.WindowLoader` names them
    for_task(n_in, n_out, size, **options)   the network for windows of n_in + n_out frames of size x size px
"""

from fixlib.registry import Registry

NETWORKS: Registry = Registry("network")
BASELINES: Registry = Registry("baseline")
