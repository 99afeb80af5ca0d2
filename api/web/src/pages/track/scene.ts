/** The map's part of the view. */
import type { Translate } from '../../i18n/index.ts';
import type { Scene } from '../../map/map.ts';
import type { VehicleKind } from '../../map/marks.ts';
import { isFinal, type Model } from './model.ts';
import type { View } from './view.ts';

const VEHICLES: Record<string, VehicleKind> = {
  ride: 'moto',
  delivery: 'parcel',
  shipment_domestic: 'van',
  shipment_international: 'van',
};

export function sceneOf(model: Model, shown: View, t: Translate): Scene {
  const target = shown.leg === 'pickup' ? model.pickup : model.destination;
  return {
    pickup: model.pickup,
    destination: model.destination,
    target: shown.leg === null ? null : target,
    kind: VEHICLES[model.kind] ?? 'moto',
    fresh: shown.freshness !== 'offline',
    over: isFinal(model.orderState),
    arriving: shown.banner !== null,
    vehicle: shown.vehicle,
    words: { pickup: t('map.pickup'), destination: t('map.destination') },
  };
}
