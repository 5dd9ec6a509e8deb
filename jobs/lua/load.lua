-- What is unfinished, and how fast it gets done. Reads only.
-- KEYS[1]  load   hash; names the slot
-- Returns  {unfinished jobs, their work, work done a second (0 = not known)}
return load_told()
