--- The next edit: asks the server for it after each change, draws it, and makes it. There is one at a time, in the
--- current buffer. What goes is struck through, what comes is ghost text behind it; the key first jumps there, and then
--- makes the edit.

local server = require("mercury.server")

local M = {}

---@class mercury.Edit
---@field buf integer
---@field version integer the buffer's, which has the edit's places
---@field first [integer, integer] row and byte column of its start, from 0
---@field last [integer, integer] of its end
---@field text string
---@field command table of the server, for when it is made
---@field client_id integer

local DEBOUNCE_MS = 150 -- after a change; the server waits for a pause as well
local namespace = vim.api.nvim_create_namespace("mercury.next_edit")
local shown ---@type mercury.Edit?
local turn = 0 -- answers to what was asked in an earlier one are dropped
local timer = assert(vim.uv.new_timer())

function M.colors()
  vim.api.nvim_set_hl(0, "MercuryEditOld", { strikethrough = true, fg = "#c05050", default = true })
  vim.api.nvim_set_hl(0, "MercuryEditNew", { link = "MercuryGhost", default = true })
  vim.api.nvim_set_hl(0, "MercuryEditLine", { link = "CursorLine", default = true })
end

--- Row and byte column of a position.
local function place(buf, position, encoding)
  local line = vim.api.nvim_buf_get_lines(buf, position.line, position.line + 1, false)[1] or ""
  return { position.line, vim.str_byteindex(line, encoding, position.character, false) }
end

--- The edit that still fits its buffer, which is the current one.
---@return mercury.Edit?
function M.current()
  local one = shown
  if one and one.buf == vim.api.nvim_get_current_buf() and vim.lsp.util.buf_versions[one.buf] == one.version then
    return one
  end
end

--- Take away what is drawn, and forget what was asked.
function M.clear()
  turn = turn + 1
  timer:stop()
  if shown and vim.api.nvim_buf_is_valid(shown.buf) then
    vim.api.nvim_buf_clear_namespace(shown.buf, namespace, 0, -1)
  end
  shown = nil
end

local function draw()
  local one = M.current()
  if not one then
    return
  end
  vim.api.nvim_buf_clear_namespace(one.buf, namespace, 0, -1)
  local here = vim.api.nvim_win_get_cursor(0)[1] - 1
  local lines = vim.split(one.text, "\n", { plain = true })
  local more = {}
  for i = 2, #lines do
    more[i - 1] = { { lines[i], "MercuryEditNew" } }
  end
  local changed = one.first[1] ~= one.last[1] or one.first[2] ~= one.last[2]
  if changed then
    vim.api.nvim_buf_set_extmark(one.buf, namespace, one.first[1], one.first[2], {
      end_row = one.last[1],
      end_col = one.last[2],
      hl_group = "MercuryEditOld",
    })
  end
  vim.api.nvim_buf_set_extmark(one.buf, namespace, one.last[1], one.last[2], {
    virt_text = { { lines[1], "MercuryEditNew" } },
    virt_text_pos = "inline",
    virt_lines = more,
    line_hl_group = here ~= one.first[1] and "MercuryEditLine" or nil,
  })
  if one.first[1] < vim.fn.line("w0") - 1 or one.first[1] > vim.fn.line("w$") - 1 then
    vim.api.nvim_buf_set_extmark(one.buf, namespace, here, 0, {
      virt_text = { { ("next edit in line %d"):format(one.first[1] + 1), "MercuryGhostMore" } },
      virt_text_pos = "eol",
    })
  end
end

--- Ask for the next edit of the current buffer, and draw it.
function M.ask()
  M.clear()
  local buf = vim.api.nvim_get_current_buf()
  local client = server.client(buf)
  if not client or not vim.bo[buf].modifiable then
    return
  end
  local this = turn
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding) ---@type table
  params.textDocument.version = vim.lsp.util.buf_versions[buf]
  params.context = { triggerKind = 2 }
  client:request("textDocument/copilotInlineEdit", params, function(error, result)
    local edit = not error and this == turn and result and result.edits[1]
    if not edit or vim.lsp.util.buf_versions[buf] ~= edit.textDocument.version then
      return
    end
    shown = {
      buf = buf,
      version = edit.textDocument.version,
      first = place(buf, edit.range.start, client.offset_encoding),
      last = place(buf, edit.range["end"], client.offset_encoding),
      text = edit.text:gsub("\r\n?", "\n"),
      command = edit.command,
      client_id = client.id,
    }
    draw()
  end, buf)
end

--- Tell the server what became of an edit.
local function tell(one, command)
  local client = vim.lsp.get_client_by_id(one.client_id)
  if client then
    client:request("workspace/executeCommand", { command = command, arguments = one.command.arguments }, function() end)
  end
end

--- Jump to the edit, or make it where the cursor is in its line. Whether there is one.
---@return boolean
function M.take()
  local one = M.current()
  if not one then
    return false
  end
  if vim.api.nvim_win_get_cursor(0)[1] - 1 ~= one.first[1] then
    vim.cmd("normal! m'")
    vim.api.nvim_win_set_cursor(0, { one.first[1] + 1, one.first[2] })
    draw()
    return true
  end
  M.clear()
  local lines = vim.split(one.text, "\n", { plain = true })
  vim.cmd("let &g:undolevels = &g:undolevels") -- so that `u` takes back just this
  vim.api.nvim_buf_set_text(one.buf, one.first[1], one.first[2], one.last[1], one.last[2], lines)
  local col = #lines[#lines] + (#lines == 1 and one.first[2] or 0)
  vim.api.nvim_win_set_cursor(0, { one.first[1] + #lines, math.max(0, col) })
  tell(one, one.command.command)
  M.ask()
  return true
end

--- The same while text is typed, where the key means something else: only an edit that can be seen.
---@return boolean
function M.take_seen()
  local one = M.current()
  local seen = one and one.first[1] >= vim.fn.line("w0") - 1 and one.first[1] <= vim.fn.line("w$") - 1
  return seen and M.take() or false
end

--- The user does not want it. Whether there was one.
---@return boolean
function M.dismiss()
  local one = M.current()
  if not one then
    return false
  end
  M.clear()
  tell(one, "mercury.editDismissed")
  return true
end

--- Ask after each change.
function M.watch()
  local group = vim.api.nvim_create_augroup("mercury.next_edit", {})
  vim.api.nvim_create_autocmd({ "TextChanged", "TextChangedI", "TextChangedP", "InsertLeave" }, {
    group = group,
    callback = function(event)
      if event.event == "InsertLeave" and M.current() then
        return
      end
      M.clear()
      if server.client(0) then
        timer:start(DEBOUNCE_MS, 0, vim.schedule_wrap(M.ask))
      end
    end,
  })
  vim.api.nvim_create_autocmd({ "CursorMoved", "CursorMovedI", "WinScrolled" }, { group = group, callback = draw })
  vim.api.nvim_create_autocmd("BufLeave", { group = group, callback = M.clear })
  vim.api.nvim_create_autocmd("ColorScheme", { group = group, callback = M.colors })
  M.colors()
end

return M
