"""The report: the figures as pages that a browser reads from disk, without a network.

``collect`` finds out how the figures stand, ``model`` derives what they are of, ``pages`` sets them, ``build`` puts the
files in place; ``tutorial`` runs a script in cells and sets it with what it prints and draws.
"""
