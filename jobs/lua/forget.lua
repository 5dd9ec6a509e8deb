-- The objects are gone: so is the note to delete them, and the upload's record.
-- KEYS[1]  trash      zset
-- ARGV[..] members    "job <id>" or "upload <id>"
-- Returns  how many were forgotten
essential()
local count = 0
for _, member in ipairs(ARGV) do
  count = count + redis.call('ZREM', KEYS[1], member)
  local upload = string.match(member, '^upload (%S+)$')
  if upload then redis.call('DEL', P .. 'upload:' .. upload) end
end
return count
