"""`caseflow backtest`: a historic table or log lived again by the law and the ticker, against what its file says.

mapping, parts (what the columns mean) > source, xes, times (the file as cases) > spill (in order of time) > play
(the law and the ticker by the clock of the log) > judge (ours against theirs, and why) > report.
"""
