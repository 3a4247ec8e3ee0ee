--- The next edit: requested after each change, drawn, and made. There is one next edit at a time, in the current buffer.
--- Removed text is struck through, new text is ghost text after it; the key first jumps to the edit, and then makes it.

local server = require("mercury.server")

local M = {}

---@class mercury.Edit
---@field buf integer
---@field version integer the version of the buffer for which the edit was made
---@field first [integer, integer] row and byte column of its start, from 0
---@field last [integer, integer] row and byte column of its end
---@field text string
---@field command table the server's command to run after the edit is made
---@field client_id integer

-- The debounce after a change; the server waits for a pause, too.
local DEBOUNCE_MS = 150
local namespace = vim.api.nvim_create_namespace("mercury.next_edit")
local shown ---@type mercury.Edit?
-- The number of the current request; answers to earlier requests are dropped.
local request_number = 0
local timer = assert(vim.uv.new_timer())

function M.colors()
  vim.api.nvim_set_hl(0, "MercuryEditOld", { strikethrough = true, fg = "#c05050", default = true })
  vim.api.nvim_set_hl(0, "MercuryEditNew", { link = "MercuryGhost", default = true })
  vim.api.nvim_set_hl(0, "MercuryEditLine", { link = "CursorLine", default = true })
end

--- Return the row and the byte column of a position.
local function byte_position(buf, position, encoding)
  local line = vim.api.nvim_buf_get_lines(buf, position.line, position.line + 1, false)[1] or ""
  return { position.line, vim.str_byteindex(line, encoding, position.character, false) }
end

--- Return the range and the text of an edit in a buffer. The server's text may end with an empty line, which Neovim's
--- buffer does not have; a change that reaches it becomes one at the end of the last line.
---@return [integer, integer] first, [integer, integer] last, string text
local function buffer_edit(buf, edit, encoding)
  local first = byte_position(buf, edit.range.start, encoding)
  local last = byte_position(buf, edit.range["end"], encoding)
  local text = edit.text:gsub("\r\n?", "\n")
  local function line_end(row)
    return { row, #vim.api.nvim_buf_get_lines(buf, row, row + 1, false)[1] }
  end
  local last_row = vim.api.nvim_buf_line_count(buf) - 1
  if last[1] <= last_row then
    return first, last, text
  end
  if first[1] > last_row then
    return line_end(last_row), line_end(last_row), "\n" .. (text:gsub("\n$", ""))
  elseif text == "" and first[1] > 0 and first[2] == 0 then
    -- The last lines are deleted, with the line ending before them.
    return line_end(first[1] - 1), line_end(last_row), ""
  end
  return first, line_end(last_row), (text:gsub("\n$", ""))
end

--- Return the edit if it belongs to the current version of the current buffer.
---@return mercury.Edit?
function M.current()
  local edit = shown
  if edit and edit.buf == vim.api.nvim_get_current_buf() and vim.lsp.util.buf_versions[edit.buf] == edit.version then
    return edit
  end
end

--- Remove the drawn edit, and drop the answer to the current request.
function M.clear()
  request_number = request_number + 1
  timer:stop()
  if shown and vim.api.nvim_buf_is_valid(shown.buf) then
    vim.api.nvim_buf_clear_namespace(shown.buf, namespace, 0, -1)
  end
  shown = nil
end

local function draw()
  local edit = M.current()
  if not edit then
    return
  end
  vim.api.nvim_buf_clear_namespace(edit.buf, namespace, 0, -1)
  local cursor_row = vim.api.nvim_win_get_cursor(0)[1] - 1
  local lines = vim.split(edit.text, "\n", { plain = true })
  local added_lines = {}
  for i = 2, #lines do
    added_lines[i - 1] = { { lines[i], "MercuryEditNew" } }
  end
  local has_removed_text = edit.first[1] ~= edit.last[1] or edit.first[2] ~= edit.last[2]
  if has_removed_text then
    vim.api.nvim_buf_set_extmark(edit.buf, namespace, edit.first[1], edit.first[2], {
      end_row = edit.last[1],
      end_col = edit.last[2],
      hl_group = "MercuryEditOld",
    })
  end
  vim.api.nvim_buf_set_extmark(edit.buf, namespace, edit.last[1], edit.last[2], {
    virt_text = { { lines[1], "MercuryEditNew" } },
    virt_text_pos = "inline",
    virt_lines = added_lines,
    line_hl_group = cursor_row ~= edit.first[1] and "MercuryEditLine" or nil,
  })
  if edit.first[1] < vim.fn.line("w0") - 1 or edit.first[1] > vim.fn.line("w$") - 1 then
    vim.api.nvim_buf_set_extmark(edit.buf, namespace, cursor_row, 0, {
      virt_text = { { ("next edit in line %d"):format(edit.first[1] + 1), "MercuryGhostMore" } },
      virt_text_pos = "eol",
    })
  end
end

--- Request the next edit of the current buffer, and draw it.
function M.request()
  M.clear()
  local buf = vim.api.nvim_get_current_buf()
  local client = server.client(buf)
  if not client or not vim.bo[buf].modifiable then
    return
  end
  local this_request = request_number
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding) ---@type table
  params.textDocument.version = vim.lsp.util.buf_versions[buf]
  params.context = { triggerKind = 2 }
  client:request("textDocument/copilotInlineEdit", params, function(error, result)
    local edit = not error and this_request == request_number and result and result.edits[1]
    if not edit or vim.lsp.util.buf_versions[buf] ~= edit.textDocument.version then
      return
    end
    local first, last, text = buffer_edit(buf, edit, client.offset_encoding)
    shown = {
      buf = buf,
      version = edit.textDocument.version,
      first = first,
      last = last,
      text = text,
      command = edit.command,
      client_id = client.id,
    }
    draw()
  end, buf)
end

--- Tell the server the outcome of an edit.
local function run_command(edit, command)
  local client = vim.lsp.get_client_by_id(edit.client_id)
  if client then
    client:request("workspace/executeCommand", { command = command, arguments = edit.command.arguments }, function() end)
  end
end

--- Jump to the edit, or make it if the cursor is in its line; return false if there is no edit.
---@return boolean
function M.take()
  local edit = M.current()
  if not edit then
    return false
  end
  if vim.api.nvim_win_get_cursor(0)[1] - 1 ~= edit.first[1] then
    vim.cmd("normal! m'")
    vim.api.nvim_win_set_cursor(0, { edit.first[1] + 1, edit.first[2] })
    draw()
    return true
  end
  M.clear()
  local lines = vim.split(edit.text, "\n", { plain = true })
  -- This breaks the undo sequence, so that `u` undoes just the edit.
  vim.cmd("let &g:undolevels = &g:undolevels")
  vim.api.nvim_buf_set_text(edit.buf, edit.first[1], edit.first[2], edit.last[1], edit.last[2], lines)
  local col = #lines[#lines] + (#lines == 1 and edit.first[2] or 0)
  vim.api.nvim_win_set_cursor(0, { edit.first[1] + #lines, math.max(0, col) })
  run_command(edit, edit.command.command)
  M.request()
  return true
end

--- Take the edit in insert mode, only if it is visible, because the key has another meaning there.
---@return boolean
function M.take_if_visible()
  local edit = M.current()
  local seen = edit and edit.first[1] >= vim.fn.line("w0") - 1 and edit.first[1] <= vim.fn.line("w$") - 1
  return seen and M.take() or false
end

--- Dismiss the edit; return false if there is no edit.
---@return boolean
function M.dismiss()
  local edit = M.current()
  if not edit then
    return false
  end
  M.clear()
  run_command(edit, "mercury.editDismissed")
  return true
end

--- Request the next edit after each change.
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
        timer:start(DEBOUNCE_MS, 0, vim.schedule_wrap(M.request))
      end
    end,
  })
  vim.api.nvim_create_autocmd({ "CursorMoved", "CursorMovedI", "WinScrolled" }, { group = group, callback = draw })
  vim.api.nvim_create_autocmd("BufLeave", { group = group, callback = M.clear })
  vim.api.nvim_create_autocmd("ColorScheme", { group = group, callback = M.colors })
  M.colors()
end

return M
