"""A linter of the bodies of safe tasks: it reads their source and runs nothing of it.

What cannot be known from the source is no finding: a rule says nothing, or that it cannot tell.
"""
