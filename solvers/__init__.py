"""Numbers: solvers of one Problem, each ``solve(problem, config) -> Trajectory``, and their modules."""
