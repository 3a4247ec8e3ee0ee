--- The command `:Mercury` and its words. Knows what each does in terms of the server; nothing of ghost text.

local server = require("mercury.server")
local status = require("mercury.status")

local M = {}

local LONGEST = 7 * 24 * 60 -- minutes of a pause, the server's own limit

--- Where a suggestion was last asked for: the cursor, or in normal mode the place where insert mode was left, which is
--- one behind the cursor at a line's end.
---@return table LSP position
local function place(client)
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  local _, line, col = unpack(vim.fn.getpos("'^"))
  local cursor = vim.api.nvim_win_get_cursor(0)
  if vim.api.nvim_get_mode().mode:sub(1, 1) ~= "i" and line == cursor[1] and col == cursor[2] + 2 then
    local text = vim.api.nvim_get_current_line()
    params.position.character = vim.str_utfindex(text, client.offset_encoding, col - 1, false)
  end
  return params
end

--- A number that was given as a word; nil and a notice where it is none.
local function number(word, default, most)
  local given = word == nil and default or tonumber(word)
  if given and given > 0 and given <= most then
    return given
  end
  server.say(("%s must be a number up to %d."):format(word, most), vim.log.levels.ERROR)
end

--- Switch suggestions on or off: all, or those in some languages.
---@param on boolean
---@param languages string[]
local function switch(on, languages)
  if #languages == 0 then
    server.set("enabled", on)
    return
  end
  local off = {}
  for _, language in ipairs(server.options.settings.disabled_languages or {}) do
    off[language] = true
  end
  for _, language in ipairs(languages) do
    off[language] = not on or nil
  end
  local list = vim.tbl_keys(off)
  table.sort(list)
  server.set("disabled_languages", list)
end

--- A table of figures as lines, the deepest numbers behind their names.
local function figures(value, indent, lines)
  local names = vim.tbl_keys(value)
  table.sort(names)
  for _, name in ipairs(names) do
    local one = value[name]
    if type(one) == "table" then
      table.insert(lines, indent .. name)
      figures(one, indent .. "  ", lines)
    elseif one ~= vim.NIL then
      table.insert(lines, ("%s%s: %s"):format(indent, name, one))
    end
  end
  return lines
end

local words = {
  pause = function(minutes)
    local given = number(minutes, 10, LONGEST)
    if given then
      server.execute("mercury.snooze", { given }, function(moment)
        server.say("paused until " .. tostring(moment):match("T(%d%d:%d%d)") .. "; `:Mercury resume` ends that.")
      end)
    end
  end,
  resume = function()
    server.execute("mercury.resume", {}, function()
      server.say("suggestions are on again.")
    end)
  end,
  disable = function(...)
    switch(false, { ... })
  end,
  enable = function(...)
    switch(true, { ... })
  end,
  toggle = function()
    switch(server.options.settings.enabled == false, {})
  end,
  explain = function()
    local client = server.client(0)
    if not client then
      server.say("the server does not see this file; `:checkhealth mercury` tells why.", vim.log.levels.WARN)
      return
    end
    server.execute("mercury.explain", { place(client) }, function(sentence)
      server.say(tostring(sentence))
    end)
  end,
  status = function()
    if server.client() then
      server.say(table.concat(status.sentences(), "\n"))
    else
      server.say("the server does not run; `:checkhealth mercury` tells why.", vim.log.levels.WARN)
    end
  end,
  restart = function()
    server.restart()
  end,
  stats = function(days)
    local given = number(days, 30, 3650)
    if given then
      server.execute("mercury.stats", { given }, function(told)
        local lines = figures(told, "", { ("Mercury, the last %d days"):format(given), "" })
        vim.lsp.util.open_floating_preview(lines, "text", { border = "rounded", focus_id = "mercury.stats" })
      end)
    end
  end,
  health = function()
    vim.cmd.checkhealth("mercury")
  end,
}

--- What may follow in the command line.
---@return string[]
local function complete(lead, line)
  local before = vim.split(line:sub(1, -#lead - 1), "%s+", { trimempty = true })
  if #before == 1 then
    local names = vim.tbl_keys(words)
    table.sort(names)
    return vim.tbl_filter(function(name)
      return vim.startswith(name, lead)
    end, names)
  elseif before[2] == "disable" then
    return vim.fn.getcompletion(lead, "filetype")
  elseif before[2] == "enable" then
    return vim.deepcopy(server.options.settings.disabled_languages or {})
  end
  return {}
end

--- Make the command.
function M.create()
  vim.api.nvim_create_user_command("Mercury", function(call)
    local word = call.fargs[1]
    if not words[word] then
      server.say(("there is no `:Mercury %s`; <Tab> lists what there is."):format(word), vim.log.levels.ERROR)
      return
    end
    words[word](unpack(call.fargs, 2))
  end, { nargs = "+", complete = complete, desc = "Suggestions of mercury-lsp" })
end

return M
