"""`caseflow import`: rows of a file become cases that have lived by the clock of their file.

mapping (what the columns mean) > rows (the file, row by row) > plan (what repeats what) > carry (one row's commands) >
pump (many rows in flight, counts, place to go on from).
"""
