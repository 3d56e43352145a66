package conversationstwin

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// recordJSON is one question and its answer. The twin judges nothing, so all
// scores are unknown.
type recordJSON struct {
	ID              string  `json:"id"`
	InputMessage    string  `json:"inputMessage"`
	CondenseMessage string  `json:"condenseMessage"`
	OutputMessage   string  `json:"outputMessage"`
	Context         *string `json:"context"`

	FaithfulnessScore             *float64 `json:"faithfulnessScore"`
	DisplayFaithfulnessScore      string   `json:"displayFaithfulnessScore"`
	AnswerRelevancyScore          *float64 `json:"answerRelevancyScore"`
	DisplayAnswerRelevancyScore   string   `json:"displayAnswerRelevancyScore"`
	ContextPrecisionScore         *float64 `json:"contextPrecisionScore"`
	DisplayContextPrecisionScore  string   `json:"displayContextPrecisionScore"`
	AnswerCorrectnessScore        *float64 `json:"answerCorrectnessScore"`
	DisplayAnswerCorrectnessScore string   `json:"displayAnswerCorrectnessScore"`
	AnswerSimilarityScore         *float64 `json:"answerSimilarityScore"`
	DisplayAnswerSimilarityScore  string   `json:"displayAnswerSimilarityScore"`
	ContextRecallScore            *float64 `json:"contextRecallScore"`
	DisplayContextRecallScore     string   `json:"displayContextRecallScore"`

	ReplyTime *string `json:"replyTime"`
	CreatedAt string  `json:"createdAt"`
	Error     *string `json:"error"`
}

func (m *message) record() recordJSON {
	took := strconv.FormatFloat(float64(m.created-m.question.created)/1000, 'f', 3, 64)
	return recordJSON{
		ID: m.recordID, InputMessage: m.question.content, CondenseMessage: m.question.content, OutputMessage: m.content,
		DisplayFaithfulnessScore: "-", DisplayAnswerRelevancyScore: "-", DisplayContextPrecisionScore: "-",
		DisplayAnswerCorrectnessScore: "-", DisplayAnswerSimilarityScore: "-", DisplayContextRecallScore: "-",
		ReplyTime: &took, CreatedAt: stamp(m.created),
	}
}

// records gives the bot's answers between the two days, both included, in UTC and
// oldest first within a conversation.
func (t *Twin) records(query url.Values, wrong problems) []recordJSON {
	from, to := day(query, wrong, "startDate"), day(query, wrong, "endDate")
	if len(wrong) == 0 && to.Before(from) {
		wrong.add("non_field_errors", "endDate must not be before startDate.")
	}
	if len(wrong) > 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []recordJSON
	for _, c := range t.conversations {
		for _, m := range c.messages {
			at := time.UnixMilli(m.created)
			if m.question != nil && !at.Before(from) && at.Before(to.AddDate(0, 0, 1)) &&
				strings.Contains(m.content, query.Get("botMessage")) && strings.Contains(m.question.content, query.Get("userMessage")) {
				list = append(list, m.record())
			}
		}
	}
	return list
}

func day(query url.Values, wrong problems, name string) time.Time {
	if query.Get(name) == "" {
		wrong.add(name, required)
		return time.Time{}
	}
	at, err := time.Parse(time.DateOnly, query.Get(name))
	if err != nil {
		wrong.add(name, "Date has wrong format. Use one of these formats instead: YYYY-MM-DD.")
	}
	return at
}

func (t *Twin) listRecords(w http.ResponseWriter, r *http.Request) {
	query, wrong := parameters(r, "startDate", "endDate", "botMessage", "userMessage", "page", "pageSize")
	list := t.records(query, wrong)
	answerByNumber(w, r, query, wrong, len(list), func(i int) any { return list[i] })
}

func (t *Twin) exportRecords(w http.ResponseWriter, r *http.Request) {
	query, wrong := parameters(r, "startDate", "endDate", "botMessage", "userMessage")
	list := t.records(query, wrong)
	if len(wrong) > 0 {
		answer(w, http.StatusBadRequest, wrong)
		return
	}
	rows := [][]string{{"id", "inputMessage", "condenseMessage", "outputMessage", "replyTime", "createdAt", "error"}}
	for _, v := range list {
		rows = append(rows, []string{v.ID, v.InputMessage, v.CondenseMessage, v.OutputMessage, *v.ReplyTime, v.CreatedAt, ""})
	}
	book, err := workbook(rows)
	if err != nil {
		fail(w, http.StatusInternalServerError, "The workbook could not be written.")
		return
	}
	filename := fmt.Sprintf("records_%s_%s.xlsx", query.Get("startDate"), query.Get("endDate"))
	w.Header().Set("Content-Type", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
	w.Header().Set("Content-Disposition", `attachment; filename="`+filename+`"`)
	w.Header().Set("Content-Length", strconv.Itoa(len(book)))
	_, _ = w.Write(book)
}
