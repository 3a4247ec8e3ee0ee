--- Keeps the server's status, and words it for a statusline and in sentences. A running server without a status counts
--- as ready.

local M = {}

---@class mercury.Status the server's `mercury/status`
---@field state "loading"|"ready"|"failed"|"off"|"snoozed"
---@field model? string
---@field device? string
---@field fraction? number the loaded share, from 0 to 1
---@field until? string the end of a snooze, in ISO 8601
---@field remote? { host: string, mode: "always"|"fallback", breaker: string, told: string } the hosted model, if any
---@field message? string the reason for a failure
---@field median_ms? number the median latency of the last answers
---@field last? { ms: number, shown: boolean, recalled: boolean, reason?: string }

local latest ---@type mercury.Status?

local function changed()
  vim.schedule(function()
    vim.api.nvim_exec_autocmds("User", { pattern = "MercuryStatus", modeline = false })
    vim.cmd.redrawstatus({ bang = true })
  end)
end

--- Return a table without the protocol's nulls.
local function plain(told)
  return type(told) == "table" and vim.iter(told):fold({}, function(all, name, value)
    if value ~= vim.NIL then
      all[name] = value
    end
    return all
  end) or nil
end

--- Take a status of the server.
---@param told any
function M.take(told)
  latest = plain(told)
  changed()
end

--- Handle the attachment of a client to a buffer: request the server's status if it is unknown.
---@param client vim.lsp.Client
function M.attached(client)
  if latest == nil then
    client:request("mercury/status", nil, function(error, told)
      if not error then
        M.take(told)
      end
    end)
  end
  changed()
end

--- Forget the status after the end of the server.
function M.gone()
  latest = nil
  changed()
end

--- Return the server's last status.
---@return mercury.Status?
function M.latest()
  return latest
end

--- Return the time of day in an ISO 8601 timestamp.
local function clock(moment)
  return type(moment) == "string" and moment:match("T(%d%d:%d%d)") or "later"
end

--- Return a few words for a statusline, without a %, or "" in a buffer without the server.
---@return string
function M.text()
  if #vim.lsp.get_clients({ name = "mercury", bufnr = 0 }) == 0 then
    return ""
  end
  local told = latest or { state = "ready" }
  if told.state == "ready" then
    local name = told.remote and told.remote.host ~= "" and "Mercury via " .. told.remote.host or "Mercury"
    return told.median_ms and ("%s %.0f ms"):format(name, told.median_ms) or name
  elseif told.state == "snoozed" then
    return "Mercury: paused until " .. clock(told["until"])
  end
  return "Mercury: " .. told.state
end

--- Return the whole status in sentences.
---@return string[]
function M.sentences()
  local told = latest
  if not told then
    return { "The server runs; it does not tell its state." }
  end
  local lines = {
    ("The server is %s: model %s on %s."):format(told.state, told.model or "?", told.device or "?"),
  }
  if told.state == "snoozed" then
    lines[1] = ("Suggestions are paused until %s."):format(clock(told["until"]))
  end
  if told.remote then
    table.insert(lines, told.remote.told)
  end
  if told.message then
    table.insert(lines, told.message)
  end
  if told.median_ms then
    table.insert(lines, ("Half of the last answers took less than %.1f ms."):format(told.median_ms))
  end
  local last = plain(told.last)
  if last then
    local became = last.shown and "shown" or ("not shown: " .. (last.reason or "there was nothing to say"))
    table.insert(lines, ("The last answer took %.1f ms and was %s"):format(last.ms, became))
  end
  return lines
end

return M
