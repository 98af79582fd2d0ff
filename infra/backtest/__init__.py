"""`caseflow backtest`: a historic table or log, played again by the law and the ticker and compared with its file.

mapping, mapping_parts (the meaning of the columns) > historic_file, xes, file_times (the file as cases) > disk_sort (in
order of time) > playback (the law and the ticker by the clock of the log) > comparison (both results, and the reasons
for differences) > report.
"""
