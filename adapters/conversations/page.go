package conversations

import (
	"context"
	"net/url"
	"strconv"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// pagingParameters are those that a `next` may carry over to the next request.
var pagingParameters = []string{"cursor", "page", "pageSize", "limit", "offset"}

// pageQuery makes the query of one page. A cursor of ours holds the parameters
// that the page before named for its successor.
func pageQuery(page adapters.Page) (url.Values, error) {
	told, err := url.ParseQuery(page.Cursor)
	if err != nil {
		return nil, normalize.InvalidField("cursor", "is not one that an earlier page gave")
	}
	query := paging(told)
	if page.Limit > 0 && !query.Has("pageSize") {
		query.Set("pageSize", strconv.Itoa(page.Limit))
	}
	return query, nil
}

func paging(from url.Values) url.Values {
	query := url.Values{}
	for _, name := range pagingParameters {
		if from.Has(name) {
			query.Set(name, from.Get(name))
		}
	}
	return query
}

// list reads one page of a list: its items, the answer they stand in, and the
// cursor of the next page. Pages with and without a count are the same to it.
func (p *platform) list(
	ctx context.Context, path string, query url.Values, cursor string,
) (results []gjson.Result, answer vendorhttp.Answer, next string, err error) {
	answer, err = p.get(ctx, path, query)
	if err != nil {
		return nil, answer, "", err
	}
	v := gjson.ParseBytes(answer.Body)
	found := v.Get("results")
	if !found.Exists() || !found.IsArray() && found.Type != gjson.Null {
		return nil, answer, "", answer.Invalid("the backend's page has no list of results")
	}
	next, err = nextCursor(answer, v.Get("next"), cursor)
	return items(found), answer, next, err
}

// nextCursor reads which page comes next. Of the URL in `next` only the paging
// parameters are taken: its host may be another than the configured one, which
// alone gets the key.
func nextCursor(a vendorhttp.Answer, next gjson.Result, current string) (string, error) {
	switch {
	case next.Type == gjson.Null || next.Type == gjson.String && next.Str == "":
		return "", nil
	case next.Type != gjson.String:
		return "", a.Invalid("the backend's page names no next page that can be read")
	}
	u, err := url.Parse(text(next))
	if err != nil {
		return "", a.Invalid("the backend's page names no next page that can be read")
	}
	cursor := paging(u.Query()).Encode()
	if cursor == "" || cursor == current {
		return "", a.Invalid("the backend's page names itself as the next page")
	}
	return cursor, nil
}
