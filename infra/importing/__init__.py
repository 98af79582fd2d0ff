"""`caseflow import`: the rows of a file become cases with the times of the file.

mapping (the meaning of the columns) > file_rows (the file, row by row) > plan (double ids and repeats) > row_importer
(the commands of one row) > import_run (many rows at once, with counts and a position to resume from).
"""
