package rest

import (
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// Each talent of a described vendor is a type of its own with the talent's method
// alone, and the call that is made for it.
type (
	userCreator   talent
	threadCreator talent
	threadReader  talent
	threadLister  talent
	messageLister talent
	modeSwitcher  talent
	threadDeleter talent
	escalator     talent
	registrar     talent
)

type talent struct {
	vendor *vendor
	by     *request
}

// ask makes a call and reads its JSON object.
func (v *vendor) ask(ctx context.Context, by *request, vals values) (vendorhttp.Answer, gjson.Result, error) {
	answer, err := v.call(ctx, by, vals)
	if err != nil {
		return answer, gjson.Result{}, err
	}
	root, err := v.opened(answer, false)
	return answer, root, err
}

func (v *vendor) call(ctx context.Context, by *request, vals values) (vendorhttp.Answer, error) {
	call, err := by.with(vals, false)
	if err != nil {
		return vendorhttp.Answer{}, err
	}
	return v.client.Do(ctx, call)
}

// do makes a call of which nothing is read but whether it succeeded.
func (v *vendor) do(ctx context.Context, by *request, vals values) error {
	answer, err := v.call(ctx, by, vals)
	if err != nil {
		return err
	}
	return v.done(answer)
}

// CreateUser creates the person at the vendor.
func (t userCreator) CreateUser(ctx context.Context, user normalize.User) (string, error) {
	answer, root, err := t.vendor.ask(ctx, t.by, t.vendor.valuesOfThread(normalize.Thread{User: user}))
	if err != nil {
		return "", err
	}
	id := t.vendor.about.CreateUser.ID.wordIn(root)
	if id == "" {
		return "", answer.Invalid("the backend's answer names no person")
	}
	return id, nil
}

// CreateThread creates an empty conversation.
func (t threadCreator) CreateThread(ctx context.Context, thread normalize.Thread) (adapters.RemoteThread, error) {
	vals, asked := t.vendor.valuesOf(adapters.Turn{Thread: thread})
	answer, root, err := t.vendor.ask(ctx, t.by, vals)
	if err != nil {
		return adapters.RemoteThread{}, err
	}
	return t.vendor.about.CreateThread.Thread.read(answer, root, asked)
}

// ReadThread reads a conversation.
func (t threadReader) ReadThread(ctx context.Context, remote normalize.Remote) (adapters.RemoteThread, error) {
	answer, root, err := t.vendor.ask(ctx, t.by, t.vendor.valuesOfRemote(remote))
	if err != nil {
		return adapters.RemoteThread{}, err
	}
	return t.vendor.about.ReadThread.Thread.read(answer, root, remote)
}

// read reads a conversation; asked holds the ids that are known of it.
func (t *Thread) read(answer vendorhttp.Answer, root gjson.Result, asked normalize.Remote) (adapters.RemoteThread, error) {
	object := t.Item.item(root)
	if !object.IsObject() {
		return adapters.RemoteThread{}, answer.Invalid("the backend's answer holds no conversation")
	}
	read := adapters.RemoteThread{
		Remote: asked, Update: t.update(object), CreatedAt: t.CreatedAt.timeIn(object), UpdatedAt: t.UpdatedAt.timeIn(object),
	}
	if err := tell(&read.Remote.ThreadID, t.RemoteID.wordIn(object), answer); err != nil {
		return adapters.RemoteThread{}, err
	}
	if told := t.RemoteUserID.wordIn(object); told != "" {
		read.Remote.UserID = told
	}
	if read.Remote.ThreadID == "" {
		return adapters.RemoteThread{}, answer.Invalid("the backend's conversation has no id")
	}
	return read, nil
}

// update reads what is told about a conversation.
func (t *Thread) update(object gjson.Result) normalize.ThreadUpdate {
	update := normalize.ThreadUpdate{Mode: normalize.Mode(t.Modes[t.Mode.wordIn(object)])}
	if title := t.Title.textIn(object); title != "" {
		update.Title = &title
	}
	if user := (normalize.User{Name: t.UserName.textIn(object), Email: t.UserEmail.textIn(object)}); user != (normalize.User{}) {
		update.User = &user
	}
	return update
}

// ListThreads lists the conversations of the bot.
func (t threadLister) ListThreads(ctx context.Context, page adapters.Page) (adapters.ThreadPage, error) {
	how := t.vendor.about.ListThreads
	items, answer, next, err := t.vendor.list(ctx, t.by, &how.Pages, t.vendor.valuesOfRemote(normalize.Remote{}), page)
	if err != nil {
		return adapters.ThreadPage{}, err
	}
	got := adapters.ThreadPage{NextCursor: next}
	for _, item := range items {
		thread, err := how.Each.read(answer, item, normalize.Remote{})
		if err != nil {
			return adapters.ThreadPage{}, err
		}
		got.Threads = append(got.Threads, thread)
	}
	return got, nil
}

// ListMessages lists the messages of a conversation.
func (t messageLister) ListMessages(ctx context.Context, remote normalize.Remote, page adapters.Page) (adapters.MessagePage, error) {
	how := t.vendor.about.ListMessages
	items, answer, next, err := t.vendor.list(ctx, t.by, &how.Pages, t.vendor.valuesOfRemote(remote), page)
	if err != nil {
		return adapters.MessagePage{}, err
	}
	got := adapters.MessagePage{NextCursor: next}
	for _, item := range items {
		messages, _, err := readItem(answer, item, how.Each)
		if err != nil {
			return adapters.MessagePage{}, err
		}
		got.Messages = append(got.Messages, messages...)
	}
	return got, nil
}

// list reads one page of a list: its items, oldest first where the vendor says the
// order, the answer they stand in, and the cursor of the page after.
func (v *vendor) list(
	ctx context.Context, by *request, how *Pages, vals values, page adapters.Page,
) (items []gjson.Result, answer vendorhttp.Answer, next string, err error) {
	number, before := 1, ""
	if page.Cursor != "" {
		vals["page.cursor"] = page.Cursor
	}
	if how.Numbered {
		if number, before, err = pageNumber(page.Cursor); err != nil {
			return nil, answer, "", err
		}
		vals["page.cursor"] = int64(number)
	}
	limit := page.Limit
	if how.MaxLimit > 0 {
		limit = min(limit, how.MaxLimit)
	}
	if limit > 0 {
		vals["page.limit"] = int64(limit)
	}
	if answer, err = v.call(ctx, by, vals); err != nil {
		return nil, answer, "", err
	}
	root, err := v.opened(answer, how.Items == whole)
	if err != nil {
		return nil, answer, "", err
	}
	found := how.Items.in(root)
	if !found.IsArray() {
		return nil, answer, "", answer.Invalid("the backend's answer holds no list")
	}
	items = found.Array()
	if how.Numbered {
		if len(items) == 0 || before == digest(items[0].Raw) { // the vendor does not page after all
			return nil, answer, "", nil
		}
		if limit == 0 || len(items) >= limit {
			next = strconv.Itoa(number+1) + "-" + digest(items[0].Raw)
		}
	} else if next, err = how.after(answer, root, page.Cursor); err != nil {
		return nil, answer, "", err
	}
	if how.NewestFirst {
		slices.Reverse(items)
	}
	return items, answer, next, nil
}

// after gives the cursor of the next page. One that leads back to the page that was
// asked for is refused: the list would have no end.
func (p *Pages) after(answer vendorhttp.Answer, root gjson.Result, asked string) (string, error) {
	if more := p.More.in(root); more.Type == gjson.False {
		return "", nil
	}
	found := p.Next.in(root)
	if several := found.Array(); found.IsArray() && len(several) > 0 {
		found = several[len(several)-1]
	}
	next := word(found)
	if next != "" && p.NextParam != "" {
		if next = parameter(next, p.NextParam); next == "" {
			return "", answer.Invalid("the backend's page names no next page that can be read")
		}
	}
	if next != "" && next == asked {
		return "", answer.Invalid("the backend's page names itself as the next page")
	}
	return next, nil
}

// pageNumber reads a cursor of numbered pages: the number, and what the page before
// began with.
func pageNumber(cursor string) (number int, before string, err error) {
	if cursor == "" {
		return 1, "", nil
	}
	digits, before, _ := strings.Cut(cursor, "-")
	if number, err = strconv.Atoi(digits); err != nil || number < 2 {
		return 0, "", normalize.InvalidField("cursor", "is not one that this list returned")
	}
	return number, before, nil
}

func digest(text string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // never fails
	return strconv.FormatUint(h.Sum64(), 36)
}

// SwitchMode hands a conversation to a human or back to the bot.
func (t modeSwitcher) SwitchMode(ctx context.Context, remote normalize.Remote, mode normalize.Mode) error {
	vals := t.vendor.valuesOfRemote(remote)
	vals["mode"] = t.vendor.about.SwitchMode.Modes[string(mode)]
	return t.vendor.do(ctx, t.by, vals)
}

// DeleteThread erases a conversation.
func (t threadDeleter) DeleteThread(ctx context.Context, remote normalize.Remote) error {
	return t.vendor.do(ctx, t.by, t.vendor.valuesOfRemote(remote))
}

// Escalate asks the vendor's side to look at a conversation.
func (t escalator) Escalate(ctx context.Context, remote normalize.Remote, note string) error {
	vals := t.vendor.valuesOfRemote(remote)
	vals["note"] = note
	return t.vendor.do(ctx, t.by, vals)
}

// RegisterWebhook tells the vendor where to send messages. The token is in no error:
// a refusal may repeat what it refuses.
func (t registrar) RegisterWebhook(ctx context.Context, remote normalize.Remote, url string, token normalize.Secret) error {
	vals := t.vendor.valuesOfRemote(remote)
	vals["webhook.url"], vals["webhook.token"] = url, token.Reveal()
	err := t.vendor.do(ctx, t.by, vals)
	var failure *normalize.Error
	if errors.As(err, &failure) {
		failure.Detail, failure.VendorCode = token.Redact(failure.Detail), token.Redact(failure.VendorCode)
	}
	return err
}
