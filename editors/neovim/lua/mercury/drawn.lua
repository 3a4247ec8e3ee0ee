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

---@class mercury.Moment a text and a cursor
---@field buf integer
---@field tick integer the buffer's `changedtick`
---@field cursor integer[]

local shown ---@type mercury.Shown?
local pending_request ---@type { client: vim.lsp.Client, id: integer, at: mercury.Moment }?
-- The number of the current request; answers to earlier requests are dropped.
local request_number = 0
local timer = assert(vim.uv.new_timer())

--- Return whether ghost text may be drawn now.
local function may_show()
  local mode = vim.api.nvim_get_mode().mode
  return mode:sub(1, 1) == "i" and not (server.options.menu == "hide" and menu.is_open())
end

---@return mercury.Moment
local function this_moment()
  local buf = vim.api.nvim_get_current_buf()
  return { buf = buf, tick = vim.api.nvim_buf_get_changedtick(buf), cursor = vim.api.nvim_win_get_cursor(0) }
end

--- Return the suggestion at the cursor, and its rest.
---@return mercury.Suggestion?, string?
function M.current()
  local current = shown and shown.list[shown.index]
  local rest = current and suggestion.rest(current)
  if current and rest then
    return current, rest
  end
end

local function draw()
  local current, rest = M.current()
  if current and rest and may_show() then
    local hint = shown.invoked and #shown.list > 1 and (" (%d/%d)"):format(shown.index, #shown.list) or nil
    ghost.show(current, rest, hint)
  elseif shown then
    ghost.hide(shown.list[1].buf)
  end
end

--- Remove the ghost text, and cancel the request.
function M.clear()
  request_number = request_number + 1
  timer:stop()
  if pending_request then
    local client, id = pending_request.client, pending_request.id
    pending_request = nil
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
function M.show(list, index, invoked)
  M.clear()
  shown = { list = list, index = index or 1, invoked = invoked or false }
  draw()
end

--- Show another of the suggestions that the user asked for; return false if there is none.
---@param count integer the distance in the list
---@return boolean
function M.cycle(count)
  if not (M.current() and shown.invoked and #shown.list > 1) then
    return false
  end
  -- Some suggestions may not fit the text that was typed in the meantime.
  local others = vim.tbl_filter(suggestion.rest, shown.list)
  local index_of_shown = vim.fn.index(others, shown.list[shown.index])
  M.show(others, (index_of_shown + count) % #others + 1, true)
  return true
end

--- Return the items of an answer that fit the buffer's text, as suggestions.
local function fitting_suggestions(result, client, buf, place)
  local list = {}
  for _, item in ipairs(result and (result.items or result) or {}) do
    local candidate = suggestion.of(item, client, buf, place)
    if candidate and suggestion.rest(candidate) then
      table.insert(list, candidate)
    end
  end
  return list
end

--- Request suggestions. `done` gets the suggestions that fit, which are none after an error. A later request cancels
--- this request.
---@param kind integer
---@param done fun(list: mercury.Suggestion[])
---@return boolean whether the buffer has a server
function M.request(kind, done)
  local buf = vim.api.nvim_get_current_buf()
  local client = server.client(buf)
  if not client then
    return false
  end
  if pending_request then
    pending_request.client:cancel_request(pending_request.id)
    pending_request = nil
  end
  request_number = request_number + 1
  local this_request, place = request_number, suggestion.here()
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding) ---@type table
  params.context = { triggerKind = kind }
  local _, id = client:request("textDocument/inlineCompletion", params, function(error, result)
    if this_request == request_number then
      pending_request = nil
      done(not error and fitting_suggestions(result, client, buf, place) or {})
    end
  end, buf)
  pending_request = id and { client = client, id = id, at = this_moment() }
  return true
end

--- Request suggestions automatically.
local function request_automatically()
  if may_show() then
    M.request(M.AUTOMATIC, function(list)
      if #list > 0 and may_show() then
        M.show(list)
      end
    end)
  end
end

--- Handle a change of the text or the cursor: keep a suggestion that still fits, or request new suggestions.
local function on_move()
  if M.current() then
    draw()
    return
  end
  if pending_request and vim.deep_equal(pending_request.at, this_moment()) then
    -- The event is late: if a key follows at once, Neovim handles that key first, and it may have made this request.
    return
  end
  M.clear()
  if M.automatic and server.client(0) then
    timer:start(server.options.debounce_ms, 0, vim.schedule_wrap(request_automatically))
  end
end

--- Watch the buffers. `automatic`: request suggestions at each change, which Neovim 0.12 does by itself.
---@param automatic boolean
function M.watch(automatic)
  M.automatic = automatic
  local group = vim.api.nvim_create_augroup("mercury.drawn", {})
  vim.api.nvim_create_autocmd({ "InsertEnter", "CursorMovedI", "TextChangedI", "TextChangedP" }, {
    group = group,
    callback = on_move,
  })
  vim.api.nvim_create_autocmd({ "InsertLeave", "BufLeave", "WinLeave" }, { group = group, callback = M.clear })
  vim.api.nvim_create_autocmd("ColorScheme", { group = group, callback = ghost.colors })
  ghost.colors()
  menu.watch(draw)
end

return M
