--- A suggestion as a value: its text, its place, and its rest after the user has typed a part of it.

local M = {}

---@class mercury.Suggestion
---@field buf integer
---@field client_id integer the client that has sent it
---@field row integer the row of its start, from 0
---@field col integer the byte column of its start, from 0
---@field text string the whole text; its lines end with \n
---@field tail string the text after the cursor in its line at the time of the request
---@field replaced integer the bytes of the tail that it replaces
---@field command? lsp.Command the command to run after its acceptance

---@class mercury.Place the place of a request
---@field row integer
---@field col integer
---@field tail string

--- Return the cursor of the current window, from 0, and the text after it in its line.
---@return mercury.Place
function M.here()
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  return { row = row - 1, col = col, tail = vim.api.nvim_get_current_line():sub(col + 1) }
end

--- Make a suggestion from a server's item for a request at `place` in a buffer. Windows' line endings become \n.
---@param item lsp.InlineCompletionItem
---@param client vim.lsp.Client
---@param buf integer
---@param place mercury.Place
---@return mercury.Suggestion?
function M.of(item, client, buf, place)
  if type(item.insertText) ~= "string" then
    -- A snippet, which our server never sends.
    return nil
  end
  local start, stop = place.col, place.col
  if item.range then
    local line = vim.api.nvim_buf_get_lines(buf, place.row, place.row + 1, false)[1] or ""
    start = vim.str_byteindex(line, client.offset_encoding, item.range.start.character, false)
    stop = vim.str_byteindex(line, client.offset_encoding, item.range["end"].character, false)
  end
  return {
    buf = buf,
    client_id = client.id,
    row = place.row,
    col = start,
    text = (item.insertText:gsub("\r\n?", "\n")),
    tail = place.tail,
    replaced = math.max(0, stop - place.col),
    command = item.command,
  }
end

--- Return the rest of a suggestion after the cursor, or nil if the typed text differs from its beginning or the rest is
--- empty.
---@param suggestion mercury.Suggestion
---@return string?
function M.rest(suggestion)
  if vim.api.nvim_get_current_buf() ~= suggestion.buf then
    return nil
  end
  local here = M.here()
  local before = here.row < suggestion.row or here.row == suggestion.row and here.col < suggestion.col
  if before or here.tail ~= suggestion.tail or suggestion.row >= vim.api.nvim_buf_line_count(0) then
    return nil
  end
  local first = vim.api.nvim_buf_get_lines(0, suggestion.row, suggestion.row + 1, false)[1]
  if #first < suggestion.col then
    return nil
  end
  local typed = vim.api.nvim_buf_get_text(0, suggestion.row, suggestion.col, here.row, here.col, {})
  local text = table.concat(typed, "\n")
  if not vim.startswith(suggestion.text, text) or #text == #suggestion.text then
    return nil
  end
  return suggestion.text:sub(#text + 1)
end

--- Return the next word of a text: blanks, and then a word by 'iskeyword', or a run of other characters.
---@param rest string
---@return string
function M.word(rest)
  local found = vim.fn.matchstr(rest, [=[^\_s*\%(\k\+\|[^[:keyword:][:space:]]\+\)]=])
  return found ~= "" and found or rest
end

--- Return the text to the end of its line, or the line ending and the next line if the text begins with a line ending.
---@param rest string
---@return string
function M.line(rest)
  return rest:match("^\n*[^\n]*")
end

--- Insert the first `part` of the rest at the cursor; return whether it is the whole rest, which also replaces the tail.
---@param suggestion mercury.Suggestion
---@param rest string
---@param part string
---@return boolean
function M.put(suggestion, rest, part)
  local here, whole = M.here(), part == rest
  local lines = vim.split(part, "\n", { plain = true })
  -- This breaks the undo sequence, so that `u` undoes just the insertion.
  vim.cmd("let &g:undolevels = &g:undolevels")
  local stop = here.col + (whole and suggestion.replaced or 0)
  vim.api.nvim_buf_set_text(0, here.row, here.col, here.row, stop, lines)
  local col = #lines[#lines] + (#lines == 1 and here.col or 0)
  vim.api.nvim_win_set_cursor(0, { here.row + #lines, col })
  return whole
end

return M
