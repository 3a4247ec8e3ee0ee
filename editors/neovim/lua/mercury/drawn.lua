--- The plugin's own ghost text: requests suggestions, keeps them while the user types along, and has them drawn. In
--- Neovim 0.11 all ghost text is drawn here; with Neovim 0.12's own, this module takes over a suggestion when the user
--- accepts a part of it or asks for others. One suggestion is shown at a time, at the cursor of the current window.

local ghost = require("mercury.ghost")
local menu = require("mercury.menu")
local server = require("mercury.server")
local suggestion = require("mercury.suggestion")

local M = {}

-- LSP's InlineCompletionTriggerKind.
M.INVOKED, M.AUTOMATIC = 1, 2

---@class mercury.Shown
---@field list mercury.Suggestion[] candidates
---@field index integer the index of the drawn candidate
---@field invoked boolean whether the user asked for them, so that the server has no further candidates

local shown ---@type mercury.Shown?
local asked ---@type { client: vim.lsp.Client, id: integer }?
-- The number of the current request; answers to earlier requests are dropped.
local turn = 0
local timer = assert(vim.uv.new_timer())

--- Return whether ghost text may be drawn now.
local function may_show()
  local mode = vim.api.nvim_get_mode().mode
  return mode:sub(1, 1) == "i" and not (server.options.menu == "hide" and menu.is_open())
end

--- Return the suggestion at the cursor, and its rest.
---@return mercury.Suggestion?, string?
function M.current()
  local one = shown and shown.list[shown.index]
  local rest = one and suggestion.rest(one)
  if one and rest then
    return one, rest
  end
end

local function draw()
  local one, rest = M.current()
  if one and rest and may_show() then
    local hint = shown.invoked and #shown.list > 1 and (" (%d/%d)"):format(shown.index, #shown.list) or nil
    ghost.show(one, rest, hint)
  elseif shown then
    ghost.hide(shown.list[1].buf)
  end
end

--- Remove the ghost text, and cancel the request.
function M.clear()
  turn = turn + 1
  timer:stop()
  if asked then
    local client, id = asked.client, asked.id
    asked = nil
    if client.requests[id] then
      client:cancel_request(id)
    end
  end
  if shown then
    ghost.hide(shown.list[1].buf)
    shown = nil
  end
end

--- Draw suggestions.
---@param list mercury.Suggestion[]
---@param index? integer
---@param invoked? boolean
function M.adopt(list, index, invoked)
  M.clear()
  shown = { list = list, index = index or 1, invoked = invoked or false }
  draw()
end

--- Show another of the suggestions that the user asked for; return false if there is none.
---@param count integer the distance in the list
---@return boolean
function M.turn(count)
  if not (M.current() and shown.invoked and #shown.list > 1) then
    return false
  end
  -- Some suggestions may not fit the text that was typed in the meantime.
  local others = vim.tbl_filter(suggestion.rest, shown.list)
  local at = vim.fn.index(others, shown.list[shown.index])
  M.adopt(others, (at + count) % #others + 1, true)
  return true
end

--- Return the items of an answer that fit the buffer's text, as suggestions.
local function fitting(result, client, buf, place)
  local list = {}
  for _, item in ipairs(result and (result.items or result) or {}) do
    local one = suggestion.of(item, client, buf, place)
    if one and suggestion.rest(one) then
      table.insert(list, one)
    end
  end
  return list
end

--- Request suggestions. `done` gets the suggestions that fit, which are none after an error. A later request cancels
--- this request.
---@param kind integer
---@param done fun(list: mercury.Suggestion[])
---@return boolean whether the buffer has a server
function M.ask(kind, done)
  local buf = vim.api.nvim_get_current_buf()
  local client = server.client(buf)
  if not client then
    return false
  end
  if asked then
    asked.client:cancel_request(asked.id)
    asked = nil
  end
  turn = turn + 1
  local this, place = turn, suggestion.here()
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding) ---@type table
  params.context = { triggerKind = kind }
  local _, id = client:request("textDocument/inlineCompletion", params, function(error, result)
    if this == turn then
      asked = nil
      done(not error and fitting(result, client, buf, place) or {})
    end
  end, buf)
  asked = id and { client = client, id = id }
  return true
end

--- Request suggestions automatically.
local function ask_unasked()
  if may_show() then
    M.ask(M.AUTOMATIC, function(list)
      if #list > 0 and may_show() then
        M.adopt(list)
      end
    end)
  end
end

--- Handle a change of the text or the cursor: keep a suggestion that still fits, or request new suggestions.
local function moved()
  if M.current() then
    draw()
    return
  end
  M.clear()
  if M.automatic and server.client(0) then
    timer:start(server.options.debounce_ms, 0, vim.schedule_wrap(ask_unasked))
  end
end

--- Watch the buffers. `automatic`: request suggestions at each change, which Neovim 0.12 does by itself.
---@param automatic boolean
function M.watch(automatic)
  M.automatic = automatic
  local group = vim.api.nvim_create_augroup("mercury.drawn", {})
  vim.api.nvim_create_autocmd({ "InsertEnter", "CursorMovedI", "TextChangedI", "TextChangedP" }, {
    group = group,
    callback = moved,
  })
  vim.api.nvim_create_autocmd({ "InsertLeave", "BufLeave", "WinLeave" }, { group = group, callback = M.clear })
  vim.api.nvim_create_autocmd("ColorScheme", { group = group, callback = ghost.colors })
  ghost.colors()
  menu.watch(draw)
end

return M
