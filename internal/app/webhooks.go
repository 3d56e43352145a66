package app

import (
	"go.uber.org/zap"

	"chatmux/internal/config"
	"chatmux/internal/httpapi"
	"chatmux/internal/store"
	"chatmux/internal/webhook"
)

// useWebhooks puts a config's receivers of events in force. On an error nothing has
// changed.
func (a *App) useWebhooks(c *config.Config) error {
	var told []store.Endpoint
	var reached []webhook.Endpoint
	for _, w := range c.Webhooks {
		e := store.Endpoint{Name: w.Name, Tenant: w.Tenant}
		if len(c.Callers) == 0 { // everybody who calls is of one tenant
			e.Tenant = httpapi.OpenTenant
		}
		for _, topic := range w.Events {
			e.Topics = append(e.Topics, store.Topic(topic))
		}
		told = append(told, e)
		reached = append(reached, webhook.Endpoint{Name: w.Name, URL: string(w.URL), Secret: w.Secret})
		if refused := a.guard.Check(string(w.URL)); refused != nil {
			a.log.Error("nothing will be delivered to this webhook as it stands: change its url, or outbound.allow_cidrs",
				zap.String("endpoint", w.Name), zap.String("why", refused.Text()))
		}
	}
	if err := a.webhooks.Use(reached); err != nil {
		return err
	}
	a.store.SetOutbox(told, a.webhooks.Wake)
	return nil
}
